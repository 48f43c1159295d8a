"""One hop of key relay: queues, one-time pads, repetition."""
