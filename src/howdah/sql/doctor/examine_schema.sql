create or replace function howdah.examine_schema()
returns table ("check" text, status text, found text, fix text)
language plpgsql stable
as $$
#variable_conflict use_column
begin
  return query
  select 'triggers', 'fail', format('Trigger %s of %s is disabled: %s', t.tgname, t.tgrelid::regclass, obj_description(t.tgfoid, 'pg_proc')),
         format('ALTER TABLE %s ENABLE TRIGGER %I;', t.tgrelid::regclass, t.tgname)
    from pg_trigger t join pg_class c on c.oid = t.tgrelid
   where c.relnamespace = 'howdah'::regnamespace and not t.tgisinternal and t.tgenabled in ('D', 'R')
   order by t.tgname;
  if not found then
    return query select 'triggers', 'ok', 'All are enabled', null;
  end if;

  return query
  select 'indexes', 'fail', format('Index %s is not valid: it is kept up, and helps nobody', i.indexrelid::regclass),
         format('REINDEX INDEX CONCURRENTLY %s;', i.indexrelid::regclass)
    from pg_index i join pg_class c on c.oid = i.indexrelid
   where c.relnamespace = 'howdah'::regnamespace and c.relkind = 'i' and not (i.indisvalid and i.indisready)
   order by i.indexrelid::regclass::text;
  if not found then
    return query select 'indexes', 'ok', 'All are valid', null;
  end if;
end
$$;
comment on function howdah.examine_schema() is 'Part of howdah.doctor: triggers that are disabled, indexes that are not valid. Which are missing is known to the program.';
