"""Who may do what: boards and backends at a broker, backends over HTTP; credentials, and how they end."""
