package main

import (
	"syscall"
	"time"
)

// Moment is a point in time, and what this process had of the cores' time by then.
type Moment struct {
	wall time.Time
	cpu  time.Duration
}

func now() Moment {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		fail(err.Error())
	}
	return Moment{time.Now(), time.Duration(usage.Utime.Nano() + usage.Stime.Nano())}
}

// Took is how long something took: on the wall, and on cores.
type Took struct {
	wall, cpu time.Duration
}

func (before Moment) elapsed() Took {
	after := now()
	return Took{after.wall.Sub(before.wall), after.cpu - before.cpu}
}
