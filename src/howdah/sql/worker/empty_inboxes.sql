-- What a task leaves unread when it ends, it will never read. That is said, not hidden.
create or replace function howdah.empty_inboxes(ids bigint[]) returns void
language sql
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
  with unread as (
    delete from howdah.message m where m.task_id = any (empty_inboxes.ids) returning m.task_id, m.type
  )
  insert into howdah.event (at, task_id, type, kind, message)
  select howdah.now(), u.task_id, 'unread', coalesce((select a.kind from howdah.archive a where a.id = u.task_id limit 1), 'forgotten'),
         case when count(*) = 1 then '1 message was never read' else format('%s messages were never read', count(*)) end
    from unread u where u.type = 'message' group by u.task_id
$$;
comment on function howdah.empty_inboxes(bigint[]) is 'Forget what ended tasks have not read; an event says how many messages that were.';
