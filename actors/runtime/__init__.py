"""What runs actors: their names, turns, timers, crashes, supervisors."""
