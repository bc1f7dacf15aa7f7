-- Lists of calls go by where a call began in the log: of a company those that are open, however many have ended; of all
-- where a service asks.
CREATE INDEX calls_open ON read_v1.calls (company_id, first_sequence DESC) WHERE ended_at IS NULL;
CREATE INDEX calls_first ON read_v1.calls (first_sequence DESC);
