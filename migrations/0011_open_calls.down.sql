DROP INDEX read_v1.calls_first;
DROP INDEX read_v1.calls_open;
