"""Key transport sessions: begun here, in transit, ending here."""
