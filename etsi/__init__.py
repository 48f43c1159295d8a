"""Who asks from outside: the standards of ETSI, spoken to applications and controllers."""
