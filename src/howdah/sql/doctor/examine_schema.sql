create or replace function howdah.examine_schema()
returns table ("check" text, status text, found text, fix text)
language plpgsql stable
as $$
#variable_conflict use_column
begin
  return query
  select 'triggers', 'fail', format('Trigger %s of howdah.%I is disabled: %s', t.tgname, c.relname, obj_description(t.tgfoid, 'pg_proc')),
         format('ALTER TABLE howdah.%I ENABLE TRIGGER %I;', c.relname, t.tgname)
    from pg_trigger t join pg_class c on c.oid = t.tgrelid
   where c.relnamespace = 'howdah'::regnamespace and not t.tgisinternal and t.tgenabled in ('D', 'R')
   order by t.tgname;
  if not found then
    return query select 'triggers', 'ok', 'All are enabled', null;
  end if;

  return query
  select 'indexes', 'fail', format('Index howdah.%I is not valid: it is kept up, and helps nobody', c.relname),
         format('REINDEX INDEX CONCURRENTLY howdah.%I;', c.relname)
    from pg_index i join pg_class c on c.oid = i.indexrelid
   where c.relnamespace = 'howdah'::regnamespace and c.relkind = 'i' and not (i.indisvalid and i.indisready)
   order by c.relname;
  if not found then
    return query select 'indexes', 'ok', 'All are valid', null;
  end if;
end
$$;
comment on function howdah.examine_schema() is 'Part of howdah.doctor: triggers that are disabled, indexes that are not valid. Which are missing is known to the program.';
