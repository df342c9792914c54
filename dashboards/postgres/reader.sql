-- A role that may look and do nothing else, for Grafana's data source. PostgreSQL's image runs this once, as the owner
-- of the database, when its volume is new; elsewhere run it by hand, in the service's database:
--   psql --set=password=… --file=dashboards/postgres/reader.sql
\if :{?password}
\else
  \set password `cat /run/secrets/database_reader_password`
\endif
CREATE ROLE grafana LOGIN PASSWORD :'password' CONNECTION LIMIT 20;
ALTER ROLE grafana SET default_transaction_read_only = on;
ALTER ROLE grafana SET statement_timeout = '30s';
GRANT pg_read_all_data TO grafana;
