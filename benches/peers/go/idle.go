package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
)

// idle starts goroutines that each wait on a channel of their own. At the end each answers once.
func idle(order Order) {
	before := resident()
	wake := make([]chan uint64, order.Count)
	answers := make(chan uint64, 1024)
	var alive atomic.Uint64
	start := now()
	for i := range wake {
		c := make(chan uint64)
		wake[i] = c
		go func() {
			alive.Add(1)
			question := <-c
			answers <- question + uint64(i)
		}()
	}
	for alive.Load() < order.Count {
		runtime.Gosched()
	}
	took := start.elapsed()
	bytes := float64(resident()-before) / float64(order.Count)
	go func() {
		for _, c := range wake {
			c <- 1
		}
	}()
	var sum uint64
	for range wake {
		sum += <-answers
	}
	if right := idSum(order.Count); sum != right {
		fail(fmt.Sprintf("%s: answers add up to %d, not %d", order.Row, sum, right))
	}
	answer(order, took, map[string]any{"sum": sum, "bytes_each": bytes})
}

// resident returns the resident bytes of this process, as the system counts them.
func resident() uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		fail(err.Error())
	}
	pages, err := strconv.ParseUint(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		fail(err.Error())
	}
	return pages * 4096
}
