package main

import (
	"fmt"
	"sync"
)

// Book is an id and 64 bytes in all, moved by value.
type Book struct {
	ID   uint64
	Body [56]byte
}

// Burned is what an incinerator burned.
type Burned struct {
	Count, Sum uint64
}

func (fire *Burned) burn(book *Book) {
	fire.Count++
	fire.Sum += book.ID
}

// Capacity of the dump in books, or in carts if carts are large.
const (
	dumpBooks = 1024
	dumpCarts = 16
)

// pipelines runs an independent pipeline for each thread. With recycle, empty carts are refilled;
// without it they are garbage, as is usual in Go.
func pipelines(order Order, recycle bool) {
	books, lanes := order.books(), uint64(order.Threads)
	if order.Count%lanes != 0 {
		fail("the books can't be dealt equally")
	}
	each := order.Count / lanes
	burned := make([]Burned, lanes)
	var done sync.WaitGroup
	start := now()
	for lane := range burned {
		first := uint64(lane)*each + 1
		done.Add(1)
		go func() {
			defer done.Done()
			if books == 1 {
				burned[lane] = pipeline(first, each)
			} else {
				burned[lane] = cartPipeline(first, each, books, recycle)
			}
		}()
	}
	done.Wait()
	took := start.elapsed()
	var all Burned
	for _, fire := range burned {
		all.Count += fire.Count
		all.Sum += fire.Sum
	}
	check(order, all)
	answer(order, took, map[string]any{"sum": all.Sum})
}

// check requires that every book was burned once.
func check(order Order, all Burned) {
	right := Burned{order.Count, idSum(order.Count)}
	if all != right {
		fail(fmt.Sprintf("%s: burned %v, not %v", order.Row, all, right))
	}
}

// idSum returns the sum of the ids 1 to count, modulo 2^64.
func idSum(count uint64) uint64 {
	if count%2 == 0 {
		return count / 2 * (count + 1)
	}
	return (count + 1) / 2 * count
}

// pipeline sends one book per message: one gopher from the pile to the dump, one from the dump to
// the incinerator.
func pipeline(first, count uint64) (fire Burned) {
	pile, dump, chute := make(chan Book, dumpBooks), make(chan Book, dumpBooks), make(chan Book, dumpBooks)
	go func() {
		for id := first; id < first+count; id++ {
			pile <- Book{ID: id}
		}
		close(pile)
	}()
	go gopher(pile, dump)
	go gopher(dump, chute)
	for book := range chute {
		fire.burn(&book)
	}
	return fire
}

// gopher passes on single books or whole carts.
func gopher[T any](from <-chan T, to chan<- T) {
	for load := range from {
		to <- load
	}
	close(to)
}

// cartPipeline sends one cart per message. The empty cart is returned, or garbage.
func cartPipeline(first, count uint64, size int, recycle bool) (fire Burned) {
	pile, dump, chute := make(chan []Book, dumpCarts), make(chan []Book, dumpCarts), make(chan []Book, dumpCarts)
	// Enough carts for all queues, so that a free place never waits for a cart.
	empty := make(chan []Book, 3*dumpCarts+4)
	if recycle {
		for range cap(empty) {
			empty <- make([]Book, 0, size)
		}
	}
	go func() {
		for id, end := first, first+count; id < end; {
			var cart []Book
			if recycle {
				cart = <-empty
			} else {
				cart = make([]Book, 0, size)
			}
			for ; len(cart) < size && id < end; id++ {
				cart = append(cart, Book{ID: id})
			}
			pile <- cart
		}
		close(pile)
	}()
	go gopher(pile, dump)
	go gopher(dump, chute)
	for cart := range chute {
		for at := range cart {
			fire.burn(&cart[at])
		}
		if recycle {
			empty <- cart[:0]
		}
	}
	return fire
}
