create or replace function howdah.find(
  ids      bigint[] default null,
  status   text[] default null,
  kind     text default null,
  queue    text default null,
  key      text default null,
  before   bigint default null,
  at_most  int default 50,
  parent   bigint default null,
  step     text default null,
  in_group text default null,
  error    text default null,
  created_after   timestamptz default null,
  created_before  timestamptz default null,
  finished_after  timestamptz default null,
  finished_before timestamptz default null
) returns setof howdah.tasks
language plpgsql stable
as $$
begin
  -- With its values in it, so that each condition finds its index.
  return query execute format('select * from howdah.tasks t where %s %s order by t.id desc limit %L::int',
    howdah.condition(jsonb_build_object(
      'ids', find.ids, 'status', find.status, 'kind', find.kind, 'queue', find.queue, 'key', find.key, 'parent', find.parent, 'step', find.step,
      'group', find.in_group, 'error', find.error, 'created_after', find.created_after, 'created_before', find.created_before,
      'finished_after', find.finished_after, 'finished_before', find.finished_before), live => false),
    case when find.before is null then '' else format('and t.id < %L::bigint', find.before) end, find.at_most);
end
$$;
comment on function howdah.find(bigint[], text[], text, text, text, bigint, int, bigint, text, text, text, timestamptz, timestamptz, timestamptz, timestamptz) is
  'Tasks, live and ended, newest first; howdah.condition says what the filters mean. Page on with before = the last id seen.';
