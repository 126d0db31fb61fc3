package main

import "container/heap"

// The balancer of the talk: a heap of workers, the one with the fewest pending requests on top.

// Request is a function, and the channel for its result.
type Request struct {
	fn func() uint64
	c  chan uint64
}

// Worker has a buffered channel of requests.
type Worker struct {
	requests chan Request
	pending  int
	index    int // in the heap
}

func (w *Worker) work(done chan *Worker) {
	for req := range w.requests {
		req.c <- req.fn()
		done <- w
	}
}

// Pool is a heap of workers.
type Pool []*Worker

func (p Pool) Len() int           { return len(p) }
func (p Pool) Less(i, j int) bool { return p[i].pending < p[j].pending }

func (p Pool) Swap(i, j int) {
	p[i], p[j] = p[j], p[i]
	p[i].index, p[j].index = i, j
}

// Push implements heap.Interface.
func (p *Pool) Push(x any) {
	w := x.(*Worker)
	w.index = len(*p)
	*p = append(*p, w)
}

// Pop implements heap.Interface.
func (p *Pool) Pop() any {
	last := len(*p) - 1
	w := (*p)[last]
	*p = (*p)[:last]
	return w
}

// Balancer dispatches requests to workers.
type Balancer struct {
	pool Pool
	done chan *Worker
}

// newBalancer starts the workers. Every queue holds all possible requests; otherwise worker and
// balancer could wait for each other.
func newBalancer(workers, requesters int) *Balancer {
	b := &Balancer{done: make(chan *Worker, requesters)}
	for range workers {
		w := &Worker{requests: make(chan Request, requesters)}
		heap.Push(&b.pool, w)
		go w.work(b.done)
	}
	return b
}

func (b *Balancer) balance(work chan Request) {
	for {
		select {
		case req := <-work:
			b.dispatch(req)
		case w := <-b.done:
			b.completed(w)
		}
	}
}

func (b *Balancer) dispatch(req Request) {
	w := heap.Pop(&b.pool).(*Worker)
	w.requests <- req
	w.pending++
	heap.Push(&b.pool, w)
}

func (b *Balancer) completed(w *Worker) {
	w.pending--
	heap.Fix(&b.pool, w.index)
}

// roundRobin dispatches requests to the workers in turn.
func (b *Balancer) roundRobin(work chan Request) {
	for i := 0; ; {
		select {
		case req := <-work:
			b.pool[i].requests <- req
			i = (i + 1) % len(b.pool)
		case <-b.done:
		}
	}
}
