create or replace function howdah.check_kinds(kinds jsonb) returns void
language plpgsql
as $$
declare
  fields text[] := array(select a.attname from pg_attribute a
                          where a.attrelid = 'howdah.kind'::regclass and a.attnum > 0 and not a.attisdropped
                            and a.attname not in ('updated_at', 'disabled_at', 'disabled_by', 'disabled_reason') order by a.attnum);
  each   jsonb;
  odd    text;
begin
  for each in select k from jsonb_array_elements(check_kinds.kinds) k loop
    select f into odd from jsonb_object_keys(each) f where f <> all (fields) limit 1;
    if found then
      raise exception using errcode = 'HW002', message = format('kind %s: there is no field %L', each ->> 'name', left(odd, 80)),
        hint = format('There are: %s', array_to_string(fields, ', '));
    end if;
    begin
      perform jsonb_populate_record(null::howdah.kind, each);
    exception when data_exception then
      raise exception using errcode = 'HW002', message = format('kind %s: %s', each ->> 'name', sqlerrm),
        hint = 'Lengths of time are written like 30 seconds, lists like ["SES"]';
    end;
  end loop;
  perform howdah.check_thresholds(check_kinds.kinds);
end
$$;
comment on function howdah.check_kinds(jsonb) is 'Error HW002 that names the kind and the field for what cannot be meant.';
