create or replace function howdah.history(id bigint) returns setof howdah.event
language sql stable
as $$ select * from howdah.event e where e.task_id = history.id order by e.id $$;
comment on function howdah.history(bigint) is 'What happened to a task: retries, failures, crashes, timeouts, operator actions.';
