-- The one clock. Tests replace this function to move time; nothing else in howdah asks for the time.
create or replace function howdah.now() returns timestamptz
language sql volatile parallel safe
as $$ select clock_timestamp() $$;
comment on function howdah.now() is 'The time that decides everything: the clock of the database, not the start of the transaction.';
