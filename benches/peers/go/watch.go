package main

import (
	"syscall"
	"time"
)

// Moment is a point in time, and the core time that this process had used by then.
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

// Took is a duration, as elapsed time and as core time.
type Took struct {
	wall, cpu time.Duration
}

func (before Moment) elapsed() Took {
	after := now()
	return Took{after.wall.Sub(before.wall), after.cpu - before.cpu}
}
