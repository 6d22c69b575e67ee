create or replace function howdah.reserve_ids(how_many int) returns bigint[]
language sql
as $$
  select array_agg(nextval(s.name)) from generate_series(1, reserve_ids.how_many), (select pg_get_serial_sequence('howdah.task', 'id')::regclass as name offset 0) s
$$;
comment on function howdah.reserve_ids(int) is 'Ids for tasks that are about to be spawned: known before they are written. What is not used stays a gap.';
