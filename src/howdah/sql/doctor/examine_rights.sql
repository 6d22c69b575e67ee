create or replace function howdah.examine_rights(caller text)
returns table ("check" text, status text, found text, fix text)
language plpgsql stable
as $$
#variable_conflict use_column
declare
  owner   text := (select pg_get_userbyid(c.relowner) from pg_class c where c.oid = 'howdah.task'::regclass);
  -- With roles of its own, the functions run with the rights of the owner.
  roles   boolean := (select p.prosecdef from pg_proc p where p.pronamespace = 'howdah'::regnamespace and p.proname = 'pump');
  missing text;
begin
  if not roles then
    if pg_has_role(examine_rights.caller, owner, 'usage') then
      return query select 'rights', 'ok', format('%s owns the tables', examine_rights.caller), null;
    else
      -- Its workers could not make or drop the days of the archive, whatever they were granted.
      select string_agg(t.name, ', ' order by t.name) into missing
        from (select format('howdah.%I', c.relname) as name from pg_class c
               where c.relnamespace = 'howdah'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
                 and not (has_table_privilege(examine_rights.caller, c.oid, 'select') and has_table_privilege(examine_rights.caller, c.oid, 'insert')
                          and has_table_privilege(examine_rights.caller, c.oid, 'update') and has_table_privilege(examine_rights.caller, c.oid, 'delete'))) t;
      return query select 'rights', case when missing is null then 'warn' else 'fail' end,
        format('%s does not own the tables, so it cannot run workers', examine_rights.caller) || coalesce(', and may not write to ' || missing, ''),
        format('As %s: howdah migrate --roles; then GRANT howdah_client TO %I; for programs that enqueue, howdah_worker for workers, howdah_admin for operators',
               owner, examine_rights.caller);
    end if;
    return;
  end if;

  -- What each of our roles may call, and this user may not. All: it is meant so. Some: a right was taken away, or is new.
  return query
  select 'rights', case when s.may = 0 or s.may = s.functions then 'ok' else 'fail' end,
         case when s.may = s.functions then format('%s may %s', examine_rights.caller, s.what)
              when s.may = 0 then format('%s may not %s', examine_rights.caller, s.what)
              else format('%s may not %s: it lacks %s', examine_rights.caller, s.what, s.missing) end,
         case when s.may = 0 then format('If it should: GRANT %I TO %I;', s.role, examine_rights.caller)
              when s.may < s.functions then format('GRANT %I TO %I; if it has that already: howdah migrate --roles', s.role, examine_rights.caller) end
    from (select r.role, r.what, r.number, count(*) as functions,
                 count(*) filter (where has_function_privilege(examine_rights.caller, p.oid, 'execute')) as may,
                 string_agg('howdah.' || p.proname, ', ' order by p.proname) filter (where not has_function_privilege(examine_rights.caller, p.oid, 'execute')) as missing
            from (values (1, 'howdah_client', 'enqueue and look', '{enqueue,put,enqueue_many,send,find,why,history}'::text[]),
                         (2, 'howdah_worker', 'run tasks', '{declare,register,pump,settle_rest,heartbeat,report,leave,reserve_ids,rescue,make_partitions,retain}'),
                         (3, 'howdah_admin', 'repair', '{cancel,retry,edit,pause,resume,stop_workers}')) r (number, role, what, functions)
            join pg_proc p on p.pronamespace = 'howdah'::regnamespace and p.proname = any (r.functions)
           group by r.role, r.what, r.number) s
   order by s.number;

  return query
  select 'roles', 'warn', format('Everybody may call %s functions of howdah, %s among them', count(*), min('howdah.' || p.proname)), 'howdah migrate --roles'
    from pg_proc p
   where p.pronamespace = 'howdah'::regnamespace
     and (p.proacl is null or exists (select from aclexplode(p.proacl) a where a.grantee = 0))
  having count(*) > 0
  union all
  select 'roles', 'fail', format('howdah.%s runs with the rights of its owner, with names that its callers choose', p.proname), 'howdah migrate --roles'
    from pg_proc p
   where p.pronamespace = 'howdah'::regnamespace and p.prosecdef
     and not coalesce(p.proconfig @> array['search_path=pg_catalog, pg_temp'], false);
  if not found then
    return query select 'roles', 'ok', 'Every user has what its roles give, and no more', null;
  end if;
end
$$;
comment on function howdah.examine_rights(text) is 'Part of howdah.doctor: what this user may do, and whether anybody may do more than the roles of howdah say.';
