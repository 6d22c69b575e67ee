create or replace function howdah.export_tasks(filter jsonb default '{}', after bigint default 0, at_most int default 1000)
returns table (id bigint, line text)
language plpgsql stable
as $$
begin
  return query execute format($query$
    select t.id, (select json_object_agg(f.key, f.value)::text from (
      select f.key, f.value from jsonb_each(to_jsonb(t) - '{worker,claim_seq,claimed_at,cancel_at,progress,children,inbox_seq}'::text[]) f
       where f.value not in ('null', 'false')
      union all
      select 'inbox', jsonb_agg(jsonb_build_object('sender', m.sender, 'type', m.type, 'body', m.body, 'sent_at', m.sent_at) order by m.id)
        from howdah.message m where m.task_id = t.id having count(*) > 0) f)
      from howdah.task t where t.id > $1 and %s order by t.id limit $2 $query$, howdah.condition(export_tasks.filter))
    using export_tasks.after, export_tasks.at_most;
end
$$;
comment on function howdah.export_tasks(jsonb, bigint, int) is
  'The first at_most live tasks, ids ascending, that a filter finds, each as a line of JSON for howdah.import_tasks: all that makes the task, with its inbox; not who runs it. Go on with after = the last id. What a filter may say: howdah.condition.';
