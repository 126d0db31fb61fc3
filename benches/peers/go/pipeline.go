package main

import (
	"fmt"
	"sync"
)

// Book is an id and 64 bytes in all; it is moved by value.
type Book struct {
	ID   uint64
	Body [56]byte
}

// Burned is the fire's account.
type Burned struct {
	Count, Sum uint64
}

func (fire *Burned) burn(book *Book) {
	fire.Count++
	fire.Sum += book.ID
}

// The dump holds so many books, or so many carts where carts are big.
const (
	dumpBooks = 1024
	dumpCarts = 16
)

// pipelines runs an independent pipeline for each thread. With recycle, empty carts are filled again; without it they are left to the
// garbage collector, as Go is usually written.
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

// check wants every book burned, once.
func check(order Order, all Burned) {
	right := Burned{order.Count, idSum(order.Count)}
	if all != right {
		fail(fmt.Sprintf("%s: burned %v, not %v", order.Row, all, right))
	}
}

// idSum adds up the ids 1 to count, modulo 2^64.
func idSum(count uint64) uint64 {
	if count%2 == 0 {
		return count / 2 * (count + 1)
	}
	return (count + 1) / 2 * count
}

// pipeline moves a book a message: a gopher from the pile to the dump, one from there to the fire.
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

// gopher carries whatever it is: books, or whole carts of them.
func gopher[T any](from <-chan T, to chan<- T) {
	for load := range from {
		to <- load
	}
	close(to)
}

// cartPipeline moves a cart a message. The empty cart goes back, or to the garbage collector.
func cartPipeline(first, count uint64, size int, recycle bool) (fire Burned) {
	pile, dump, chute := make(chan []Book, dumpCarts), make(chan []Book, dumpCarts), make(chan []Book, dumpCarts)
	// As many carts as there is room for, so that none is waited for while there is room.
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
