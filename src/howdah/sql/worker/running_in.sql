-- Whoever counts holds the row of the queue until he has claimed: two that counted at once would both take the last place.
create or replace function howdah.running_in(queue text) returns int
language plpgsql
as $$
#variable_conflict use_column
begin
  perform from howdah.queue q where q.name = running_in.queue for no key update;
  return (select count(*) from howdah.task t where t.status = 'running' and t.queue = running_in.queue);
end
$$;
comment on function howdah.running_in(text) is 'How many tasks of a limited queue run, in the whole fleet; until the end of the transaction nobody else may ask.';
