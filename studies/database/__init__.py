"""The database behind the queue: URLs, engines that ride out outages, locks, transactions, the embedded Postgres."""
