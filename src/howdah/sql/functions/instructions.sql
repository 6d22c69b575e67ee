create or replace function howdah.instructions(source text) returns table (key text, status text, payload jsonb)
language sql stable
as $$
  select t.key, t.status, t.payload from howdah.task t where t.source = instructions.source order by t.id
$$;
comment on function howdah.instructions(text) is 'The live tasks of one source, such as poller:NAME, parked ones included.';
