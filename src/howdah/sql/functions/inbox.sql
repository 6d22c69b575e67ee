create or replace function howdah.inbox(id bigint, at_most int default 100) returns setof howdah.message
language sql stable
as $$ select * from howdah.message m where m.task_id = inbox.id order by m.id limit inbox.at_most $$;
comment on function howdah.inbox(bigint, int) is 'What is in the inbox of a task and not consumed yet, oldest first.';
