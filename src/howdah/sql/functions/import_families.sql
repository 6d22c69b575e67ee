create or replace function howdah.import_families() returns bigint
language plpgsql
set enable_seqscan = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
  this_import bigint := pg_current_xact_id()::text::bigint;
  highest bigint;
  lone    bigint;
begin
  -- Whose parent did not come along has none: there is nobody to tell, or somebody else under that id.
  with child as materialized (
    select i.new_id, t.parent as old_parent from howdah.imported i join howdah.task t on t.id = i.new_id
     where i.batch = this_import and t.parent is not null
  ), found as (
    update howdah.task t set parent = p.new_id
      from child m left join howdah.imported p on p.batch = this_import and p.old_id = m.old_parent
     where t.id = m.new_id
    returning p.new_id as parent
  )
  select count(*) into lone from found f where f.parent is null;
  update howdah.task t set children = c.children
    from (select p.parent, count(*) as children from howdah.imported i join howdah.task p on p.id = i.new_id
           where i.batch = this_import and p.parent is not null and not p.told group by p.parent) c
   where t.id = c.parent;
  update howdah.task t set status = 'queued', run_at = howdah.now()
    from howdah.imported i
   where i.batch = this_import and t.id = i.new_id and t.status = 'suspended' and t.joining and t.children = 0;
  update howdah.message m set sender = s.new_id
    from howdah.imported i, howdah.message o left join howdah.imported s on s.batch = this_import and s.old_id = o.sender
   where i.batch = this_import and o.task_id = i.new_id and o.sender is not null and m.task_id = o.task_id and m.id = o.id;
  -- Ids that were kept may lie before us. One by one, because others take ids meanwhile; too far for that, they cannot get in between.
  select max(i.new_id) into highest from howdah.imported i where i.batch = this_import;
  if highest > (select s.last_value from howdah.task_id_seq s) + 1000000 then
    perform setval(pg_get_serial_sequence('howdah.task', 'id'), highest);
  else
    perform nextval(pg_get_serial_sequence('howdah.task', 'id')) from generate_series(1, highest - (select s.last_value from howdah.task_id_seq s));
  end if;
  delete from howdah.imported i where i.batch = this_import;
  return lone;
end
$$;
comment on function howdah.import_families() is
  'The end of an import: parents, children and senders under their new ids. Returns how many tasks lost their parent, which was not among them; one that waits for children of which none came along goes on.';
