-- Coarser than what workers read: it must refuse nothing that they take, and should take little that they refuse.
create or replace function howdah.cron_fault(cron text) returns text
language plpgsql immutable
as $$
declare
  said   text := regexp_replace(cron_fault.cron, '^\s+|\s+$', '', 'g');
  fields text[] := regexp_split_to_array(said, '\s+');
  names  text[] := array['second', 'minute', 'hour', 'day of the month', 'month', 'day of the week'];
  lowest int[]  := array[0, 0, 0, 1, 1, 0];
  most   int[]  := array[59, 59, 23, 31, 12, 7];
  item   text;
  number text;
  place  int;
begin
  if length(cron_fault.cron) > 200 then
    return 'cron is longer than 200 characters';
  elsif lower(said) = any ('{@yearly,@annually,@monthly,@weekly,@daily,@midnight,@hourly}') then
    return null;
  elsif cardinality(fields) not in (5, 6) then
    return format('cron %L has %s fields, not 5 or 6', cron_fault.cron, case when said = '' then 0 else cardinality(fields) end);
  end if;
  for i in 1 .. cardinality(fields) loop
    place := i + 6 - cardinality(fields);
    if fields[i] !~* '^[0-9a-z*,/#-]+$' then
      return format('cron %L: %L cannot be the %s', cron_fault.cron, fields[i], names[place]);
    end if;
    foreach item in array string_to_array(fields[i], ',') loop
      if item !~* '^(\*|[0-9]+|[a-z]{3}|l|lw|[0-9]+[lw]|l[0-9]+|(\*|[0-9]+|[a-z]{3})(-([0-9]+|[a-z]{3}))?(/[0-9]+)?|([0-9]+|[a-z]{3})#[0-9]+|[a-z]{3}l)$' then
        return format('cron %L: %L cannot be the %s', cron_fault.cron, item, names[place]);
      end if;
      foreach number in array regexp_split_to_array(regexp_replace(regexp_replace(item, '/.*|#.*', ''), '[a-zA-Z*]', '', 'g'), '-') loop
        if number <> '' and (length(ltrim(number, '0')) > 4 or number::numeric not between lowest[place] and most[place]) then
          return format('cron %L: the %s must be %s to %s, not %s', cron_fault.cron, names[place], lowest[place], most[place], number);
        end if;
      end loop;
    end loop;
  end loop;
  return null;
end
$$;
comment on function howdah.cron_fault(text) is 'What is wrong with a cron expression, as a sentence; NULL: nothing that can be seen here.';
