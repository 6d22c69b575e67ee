create or replace function howdah.find(
  ids      bigint[] default null,
  status   text[] default null,
  kind     text default null,
  queue    text default null,
  key      text default null,
  before   bigint default null,
  at_most  int default 50,
  parent   bigint default null
) returns setof howdah.tasks
language sql stable
as $$
  select * from howdah.tasks t
   where (find.ids is null or t.id = any (find.ids))
     and (find.status is null or t.status = any (find.status))
     and (find.kind is null or t.kind = find.kind)
     and (find.queue is null or t.queue = find.queue)
     and (find.key is null or t.key = find.key)
     and (find.before is null or t.id < find.before)
     and (find.parent is null or t.parent = find.parent)
   order by t.id desc
   limit find.at_most
$$;
comment on function howdah.find(bigint[], text[], text, text, text, bigint, int, bigint) is
  'Tasks, live and ended, newest first. Page on with before = the last id seen.';
