DROP VIEW turnlog.day_counts;
DROP TABLE read_v1.day_counts;
DROP FUNCTION turnlog.company_key(text);
