-- The Python side does the same in limits.py.
create or replace function howdah.parsed_rate(said text) returns double precision
language plpgsql immutable
as $$
declare
  amount double precision;
  length double precision;
  parts text[] := regexp_match(parsed_rate.said, '^\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*/\s*([0-9]{0,9}(?:\.[0-9]{1,9})?)\s*(ms|s|sec|second|m|min|minute|h|hour|d|day)s?\s*$');
begin
  if parsed_rate.said is null then
    return null;
  end if;
  amount := parts[1]::double precision;
  length := coalesce(nullif(parts[2], '')::double precision, 1) * case left(parts[3], 2)
    when 'ms' then 0.001 when 's' then 1 when 'se' then 1 when 'm' then 60 when 'mi' then 60 when 'h' then 3600 when 'ho' then 3600 else 86400 end;
  if parts is null or amount <= 0 or length <= 0 then
    raise exception using errcode = 'HW002', message = format('rate cannot be read: %L', left(parsed_rate.said, 80)),
      hint = 'Write it like 100/min, 5/s, 1000/hour or 20/30s';
  end if;
  return amount / length;
end
$$;
comment on function howdah.parsed_rate(text) is 'A rate as people write it, 100/min: how much per second. Error HW002 if it cannot be read.';
