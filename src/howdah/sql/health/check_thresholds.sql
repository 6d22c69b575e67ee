create or replace function howdah.check_thresholds(kinds jsonb) returns void
language plpgsql
as $$
declare
  wrong record;
begin
  select k ->> 'name' as kind, w.which, t.name, t.value into wrong
    from jsonb_array_elements(check_thresholds.kinds) k
    cross join lateral (values ('warn', k -> 'warn'), ('alarm', k -> 'alarm')) w (which, given)
    cross join lateral jsonb_each(case jsonb_typeof(w.given) when 'object' then w.given else '{}' end) t (name, value)
   where t.name not in ('wait', 'retries', 'failed')
      or case jsonb_typeof(t.value) when 'number' then t.value::numeric < 0 else true end
   limit 1;
  if found then
    raise exception using errcode = 'HW002',
      message = case when wrong.name in ('wait', 'retries', 'failed')
                     then format('kind %s: %s.%s must be a number from 0, not %s', wrong.kind, wrong.which, wrong.name, left(wrong.value::text, 80))
                     else format('kind %s: %s has no threshold %L', wrong.kind, wrong.which, left(wrong.name, 80)) end,
      hint = 'Write it like {"wait": 300, "retries": 3, "failed": 1}; wait is in seconds';
  end if;
end
$$;
comment on function howdah.check_thresholds(jsonb) is 'Error HW002 for warn or alarm of a kind that cannot be meant.';
