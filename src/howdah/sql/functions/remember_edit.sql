create or replace function howdah.remember_edit(live howdah.task, changed howdah.task) returns void
language plpgsql
as $$
declare
  was jsonb := to_jsonb(live);
  now jsonb := to_jsonb(changed);
  differ text[];
begin
  select array_agg(n.key) into differ from jsonb_each(now) n
   where n.key in ('payload', 'step', 'queue', 'priority', 'run_at', 'groups', 'cost') and n.value is distinct from was -> n.key;
  if differ is null then
    return;
  end if;
  insert into howdah.event (at, task_id, type, kind, step, attempt, epoch, actor, data)
  values (howdah.now(), live.id, 'edit', live.kind, changed.step, live.attempt, live.epoch, session_user,
          jsonb_build_object('before', (select jsonb_object_agg(d, was -> d) from unnest(differ) d),
                             'after', (select jsonb_object_agg(d, now -> d) from unnest(differ) d)));
end
$$;
comment on function howdah.remember_edit(howdah.task, howdah.task) is 'Write into the history of a task what was changed, by whom, with what was there before.';
