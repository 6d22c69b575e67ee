create or replace function howdah.gates(t howdah.task) returns table (code text, reason text, advice text)
language plpgsql stable
as $$
#variable_conflict use_column
declare
  clock timestamptz := howdah.now();
  g     howdah."group";
  busy  bigint;
  left_ double precision;
  whom  text;
begin
  for g in select x.* from howdah."group" x where x.name = any (gates.t.groups) order by x.name loop
    if g.closed_until > clock then
      return query select 'group closed', format('Group %s is closed until %s (%s from now) by %s%s', g.name,
          case when g.closed_until > clock + interval '50 years' then 'it is opened' else g.closed_until::text end,
          case when g.closed_until > clock + interval '50 years' then 'no end' else date_trunc('second', g.closed_until - clock)::text end,
          g.closed_by, coalesce(': ' || g.closed_reason, '')),
        format('Wait, or open it: SELECT howdah.open_group(%L)', g.name);
      continue;
    end if;
    select count(*), (select string_agg('task ' || x.task_id, ', ') from (select s.task_id from howdah.slot s where s.group_name = g.name order by s.task_id limit 5) x)
      into busy, whom from howdah.slot s where s.group_name = g.name;
    if busy >= g.max_running then
      return query select 'group full', format('Group %s may run %s at once, and %s run: %s%s', g.name, g.max_running, busy, whom,
          case when busy > 5 then ' and others' else '' end),
        format('Wait, or raise it: SELECT howdah.set_limit(%L, running => %s)', g.name, g.max_running + 1);
    end if;
    if g.rate is not null then
      left_ := g.burst - greatest(extract(epoch from nullif(g.tat, '-infinity') - clock), 0) * g.per_second;
      if left_ < least(coalesce(gates.t.cost, 1), g.burst) then
        return query select 'rate', format('Group %s starts %s, and it costs %s; the next %s may start in %s', g.name, g.rate,
            coalesce(gates.t.cost, 1), least(coalesce(gates.t.cost, 1), g.burst),
            make_interval(secs => (least(coalesce(gates.t.cost, 1), g.burst) - left_) / g.per_second)),
          format('Wait, or raise it: SELECT howdah.set_limit(%L, rate => …)', g.name);
      end if;
    end if;
  end loop;
end
$$;
comment on function howdah.gates(howdah.task) is 'What the limits of the groups of a task keep it from: one row per reason, as howdah.why gives them.';
