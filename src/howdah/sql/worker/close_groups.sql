-- Groups come after tasks in the order of locks, by name; a claim, which holds both, never waits for either.
create or replace function howdah.close_groups(closings jsonb) returns void
language plpgsql
as $$
#variable_conflict use_column
declare
  clock timestamptz := howdah.now();
  each record;
begin
  for each in
    select g.name, max(u.until) as until, (array_agg(c.reason order by u.until desc))[1] as reason, max(c.id) as task
      from jsonb_to_recordset(close_groups.closings) c (id bigint, groups text[], "group" text, seconds double precision, until timestamptz, reason text)
      cross join lateral (select coalesce(c.until, clock + make_interval(secs => c.seconds)) as until) u
      cross join lateral (
        -- The one that was named; else those with a rate, of which the answer tells something; else all.
        select x as name from unnest(case when c."group" is not null then array[c."group"] else coalesce(
          nullif(array(select g.name from howdah."group" g where g.name = any (c.groups) and g.rate is not null), '{}'), c.groups) end) x) g
     group by g.name order by g.name collate "C"
  loop
    perform howdah.found_groups(array[each.name], true);
    update howdah."group" g
       set closed_until = each.until, closed_reason = each.reason, closed_by = 'task ' || each.task
     where g.name = each.name and coalesce(g.closed_until, '-infinity') < each.until;
  end loop;
end
$$;
comment on function howdah.close_groups(jsonb) is 'Close groups for everybody, as handlers have asked: a JSON array of {id, groups, group, seconds or until, reason}. One that is closed for longer stays so.';
