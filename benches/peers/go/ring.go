package main

// ring has four gophers: one loads, one pushes, one unloads, one brings the empty cart back.
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
