package main

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// balancer runs requesters that send a new request as soon as they are answered.
func balancer(order Order) {
	workers, requesters, sample := 8, 64, uint64(1)
	job := order.job()
	if job.sleeps {
		workers, requesters = 16, 24
	}
	if order.Detail == "empty" {
		sample = 16 // reading the clock costs as much as the job
	}
	work := make(chan Request)
	b := newBalancer(workers, requesters)
	if order.Detail == "sleep-round-robin" {
		go b.roundRobin(work)
	} else {
		go b.balance(work)
	}
	crowd := make([]crowdMember, requesters)
	var done sync.WaitGroup
	start := now()
	for i := range crowd {
		done.Add(1)
		go func() {
			defer done.Done()
			crowd[i].ask(order, job, uint64(i), uint64(requesters), sample, work)
		}()
	}
	done.Wait()
	took := start.elapsed()
	var sum uint64
	var times []time.Duration
	for i := range crowd {
		sum += crowd[i].sum
		times = append(times, crowd[i].times...)
	}
	if right := idSum(order.Count); sum != right {
		fail(fmt.Sprintf("%s: answers add up to %d, not %d", order.Row, sum, right))
	}
	fields := percentiles(times)
	fields["sum"] = sum
	answer(order, took, fields)
}

type crowdMember struct {
	sum   uint64
	times []time.Duration
}

// ask requests every requesters-th number, starting with 1 + me.
func (m *crowdMember) ask(order Order, job Job, me, requesters, sample uint64, work chan<- Request) {
	m.times = make([]time.Duration, 0, order.Count/requesters/sample+2)
	c := make(chan uint64)
	for asked, number := uint64(0), me+1; number <= order.Count; asked, number = asked+1, number+requesters {
		timed := asked%sample == 0
		var start time.Time
		if timed {
			start = time.Now()
		}
		work <- Request{func() uint64 { return job.do(number) }, c}
		m.sum += <-c
		if timed {
			m.times = append(m.times, time.Since(start))
		}
	}
}

func percentiles(times []time.Duration) map[string]any {
	slices.Sort(times)
	at := func(share float64) int64 {
		rank := int(math.Ceil(share*float64(len(times)))) - 1
		return times[max(rank, 0)].Nanoseconds()
	}
	var all time.Duration
	for _, one := range times {
		all += one
	}
	mean := float64(all.Nanoseconds()) / float64(len(times))
	return map[string]any{"mean_ns": mean, "p50_ns": at(0.5), "p99_ns": at(0.99)}
}
