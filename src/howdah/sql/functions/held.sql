create or replace function howdah.held(key text) returns table (task_id bigint, kind text, status text, since timestamptz, until timestamptz)
language sql stable
as $$
  select t.id, t.kind, t.status, t.created_at, k.until
    from howdah.task t
    left join howdah.key k on k.key = t.key and k.task_id = t.id and k.until > howdah.now()
   where t.key = held.key
  union all
  select k.task_id, k.kind, coalesce(a.status, 'ended'), a.created_at, k.until
    from howdah.key k
    left join lateral (select a.status, a.created_at from howdah.archive a where a.id = k.task_id limit 1) a on true
   where k.key = held.key and k.until > howdah.now() and not exists (select from howdah.task t where t.key = held.key)
$$;
comment on function howdah.held(text) is
  'Which task holds a key, since when and until when: no row for a key that is free. until is NULL while only the live task holds it; status is ended when nothing else is kept of the task.';
