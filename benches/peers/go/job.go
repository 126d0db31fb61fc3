package main

import (
	"os"
	"strconv"
	"time"
)

// Job is the cost of a request of the balancer, with the same iterations as in the Rust programs.
type Job struct {
	usual, long uint64        // iterations on a core; long is that of one request in twenty
	nap, longer time.Duration // without a core
	sleeps      bool
}

func (order Order) job() Job {
	switch order.Detail {
	case "empty":
		return Job{}
	case "10us":
		return spinning(10, 10)
	case "50us":
		return spinning(50, 50)
	case "mix":
		return spinning(10, 200)
	case "sleep", "sleep-round-robin":
		return Job{nap: 2 * time.Millisecond, longer: 40 * time.Millisecond, sleeps: true}
	}
	fail("no such row: " + order.Row)
	return Job{}
}

func spinning(usual, long float64) Job {
	perUs := spinsPerUs()
	return Job{usual: uint64(usual * perUs), long: uint64(long * perUs)}
}

// do serves a request and returns its number.
func (job Job) do(number uint64) uint64 {
	// Long requests look random, but are the same for all programs.
	long := ((number+1)*0x9e3779b97f4a7c15)>>33%20 == 0
	switch {
	case job.sleeps && long:
		time.Sleep(job.longer)
	case job.sleeps:
		time.Sleep(job.nap)
	case long:
		spin(job.long)
	default:
		spin(job.usual)
	}
	return number
}

var spun uint64 // keeps the compiler from removing the loop

//go:noinline
func spin(times uint64) {
	x := times
	for ; times > 0; times-- {
		x = (x^x>>33)*6364136223846793005 + 1442695040888963407
	}
	if x == 42 {
		spun++
	}
}

// spinsPerUs is the number of iterations per microsecond: from the runner, or the fastest of several measurements.
func spinsPerUs() float64 {
	if said, err := strconv.ParseFloat(os.Getenv("PEERS_SPINS_PER_US"), 64); err == nil && said > 0 {
		return said
	}
	best, times := 0.0, uint64(200_000)
	for range 50 {
		start := time.Now()
		spin(times)
		best = max(best, float64(times)/float64(time.Since(start).Nanoseconds())*1000)
	}
	return best
}
