"""`x3fleet backup`: making, proving and restoring backups, and what a restored database may do."""
