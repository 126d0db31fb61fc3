// The rows in Go: goroutines and channels, as in the talk, with only the standard library.
//
// Started as `go-peer ROW THREADS COUNT`, it prints one line of JSON.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Order is the command line: row, threads and count.
type Order struct {
	Row     string // as given
	Kind    string // before the first "-"
	Detail  string // after it
	Threads int
	Count   uint64
}

func readOrder() Order {
	if len(os.Args) != 4 {
		fail("usage: go-peer ROW THREADS COUNT, such as: go-peer pipeline-64 1 10000000")
	}
	threads, err := strconv.Atoi(os.Args[2])
	if err != nil || threads < 1 {
		fail("no number of threads: " + os.Args[2])
	}
	count, err := strconv.ParseUint(os.Args[3], 10, 64)
	if err != nil || count < 1 {
		fail("no count: " + os.Args[3])
	}
	kind, detail, _ := strings.Cut(os.Args[1], "-")
	return Order{Row: os.Args[1], Kind: kind, Detail: detail, Threads: threads, Count: count}
}

// books is the number of books in a message.
func (order Order) books() int {
	books, err := strconv.Atoi(order.Detail)
	if err != nil || books < 1 {
		fail("no such row: " + order.Row)
	}
	return books
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, "go: "+why)
	os.Exit(1)
}

// answer prints the line of JSON; more holds fields that only this row has.
func answer(order Order, took Took, more map[string]any) {
	line := map[string]any{
		"peer":        "go",
		"row":         order.Row,
		"threads":     order.Threads,
		"count":       order.Count,
		"seconds":     took.wall.Seconds(),
		"cpu_seconds": took.cpu.Seconds(),
		"per_s":       float64(order.Count) / took.wall.Seconds(),
	}
	for name, value := range more {
		line[name] = value
	}
	text, err := json.Marshal(line)
	if err != nil {
		fail(err.Error())
	}
	fmt.Println(string(text))
}

func main() {
	order := readOrder()
	runtime.GOMAXPROCS(order.Threads)
	switch order.Kind {
	case "pipeline", "copies":
		pipelines(order, false)
	case "recycled":
		pipelines(order, true)
	case "ring":
		ring(order)
	case "balancer":
		balancer(order)
	case "idle":
		idle(order)
	case "light":
		light(order)
	default:
		fail("no such row: " + order.Row)
	}
}
