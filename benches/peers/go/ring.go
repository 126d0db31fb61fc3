package main

// ring has four gophers: one loads, one pushes, one unloads, one returns the empty cart.
func ring(order Order) {
	size := order.books()
	const carts = 8
	loaded, pushed := make(chan []Book, carts), make(chan []Book, carts)
	unloaded, returned := make(chan []Book, carts), make(chan []Book, carts)
	start := now()
	go func() { // load
		for id := uint64(1); id <= order.Count; {
			cart := <-returned
			for ; len(cart) < size && id <= order.Count; id++ {
				cart = append(cart, Book{ID: id})
			}
			loaded <- cart
		}
		close(loaded)
	}()
	go func() { // push
		for cart := range loaded {
			pushed <- cart
		}
		close(pushed)
	}()
	go func() { // return
		for cart := range unloaded {
			returned <- cart
		}
	}()
	for range carts {
		returned <- make([]Book, 0, size)
	}
	var fire Burned
	for cart := range pushed { // unload
		for at := range cart {
			fire.burn(&cart[at])
		}
		unloaded <- cart[:0]
	}
	close(unloaded)
	took := start.elapsed()
	check(order, fire)
	answer(order, took, map[string]any{"sum": fire.Sum})
}

// light passes one value around four goroutines, without other load.
func light(order Order) {
	a, b, c, d := make(chan uint64), make(chan uint64), make(chan uint64), make(chan uint64)
	for _, way := range []struct{ from, to chan uint64 }{{a, b}, {b, c}, {c, d}} {
		go func() {
			for value := range way.from {
				way.to <- value
			}
		}()
	}
	var sum uint64
	start := now()
	for round := uint64(1); round <= order.Count; round++ {
		a <- round
		sum += <-d
	}
	took := start.elapsed()
	if right := idSum(order.Count); sum != right {
		fail("a value was lost on its way")
	}
	answer(order, took, map[string]any{"sum": sum})
}
