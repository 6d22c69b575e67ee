-- The Python side does the same in templates.py.
create or replace function howdah.filled(template text, payload jsonb) returns text
language plpgsql immutable
as $$
declare
  answer text := filled.template;
  field  text;
  value  jsonb;
begin
  if coalesce(position('{' in answer), 0) = 0 then
    return answer;
  end if;
  answer := '';
  for field in select m[1] from regexp_matches(filled.template, '(\{[^{}]*\}|[^{}]+|[{}])', 'g') m loop
    if field !~ '^\{' then
      answer := answer || field;
      continue;
    end if;
    value := filled.payload -> substr(field, 2, length(field) - 2);
    if coalesce(jsonb_typeof(value), 'null') not in ('string', 'number', 'boolean') or jsonb_typeof(value) = 'number' and value::text !~ '^-?[0-9]+$' then
      raise exception using errcode = 'HW003',
        message = format('%s of the payload is %s, and the name %s is made of it', substr(field, 2, length(field) - 2),
                         case when value is null then 'missing' else left(value::text, 80) end, filled.template),
        hint = 'It must be text, a whole number, true or false';
    end if;
    answer := answer || (value #>> '{}');
  end loop;
  return answer;
end
$$;
comment on function howdah.filled(text, jsonb) is 'A template of a key or group with the fields of a payload put in for {name}. Error HW003 for a field that is missing or no name can be made of.';
