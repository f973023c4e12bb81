"""The console in a real browser: `make browser` runs these tests, `make test` leaves them out."""
