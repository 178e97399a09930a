"""``bootdub serve``: dubbing over HTTP. Jobs lie in a store that outlives every process; workers do them."""
