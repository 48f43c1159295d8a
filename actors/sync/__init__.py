"""Two ends of a stream in step: peering, segments, batches, how full a store is."""
