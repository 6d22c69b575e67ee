create or replace function howdah.retry_all(filter jsonb, after bigint default 0, at_most int default 1000)
returns table (id bigint, outcome text, why text)
language plpgsql
as $$
#variable_conflict use_column
declare
  page   record;
  failed bigint[];
  due    bigint[];
begin
  select * into page from howdah.lock_page('{"status": ["failed"]}' || howdah.meant(retry_all.filter), retry_all.after, retry_all.at_most);
  select coalesce(array_agg(t.id) filter (where t.status = 'failed'), '{}'),
         coalesce(array_agg(t.id) filter (where t.status = 'queued' or t.status = 'suspended'
                                   and not (t.joining and exists (select from howdah.task c where c.parent = t.id and not c.told))), '{}')
    into failed, due from howdah.task t where t.id = any (page.free);
  update howdah.task t set error = null where t.id = any (failed);     -- the trigger resume does the rest
  perform howdah.make_due(due) where due <> '{}';
  return query
  select t.id, 'skipped', case t.status when 'running' then 'it is running' else 'it waits for its children' end
    from howdah.task t where t.id = any (page.free) and t.id <> all (failed || due)
  union all select f, 'resumed', null from unnest(failed) f
  union all select d, 'due now', null from unnest(due) d
  union all select o.id, 'skipped', o.why from jsonb_to_recordset(page.others) o (id bigint, why text)
   order by 1;
end
$$;
comment on function howdah.retry_all(jsonb, bigint, int) is
  'Retry the first at_most tasks, ids ascending, that a filter finds: parked ones, unless it says which status. One row for each: resumed, due now, or skipped and the reason. Go on with after = the last id. What a filter may say: howdah.condition; how many it finds: howdah.count_tasks.';
