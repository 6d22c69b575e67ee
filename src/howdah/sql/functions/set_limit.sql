create or replace function howdah.set_limit(
  name    text,
  running int default null,
  rate    text default null,
  burst   double precision default null
) returns void
language plpgsql
as $$
#variable_conflict use_column
declare
  clock timestamptz := howdah.now();
  asked double precision;
begin
  if coalesce(length(set_limit.name), 0) not between 1 and 200 then
    raise exception using errcode = 'HW002', message = 'the name of a limit must be 1 to 200 characters', hint = 'It is that of a group, or with * for all that match: tenant:*';
  elsif set_limit.running < 0 then
    raise exception using errcode = 'HW002', message = format('running must be at least 1, not %s', set_limit.running),
      hint = format('0 takes the limit away; to let nothing run: SELECT howdah.close_group(%L)', set_limit.name);
  elsif set_limit.burst <= 0 or set_limit.burst = 'infinity' or set_limit.burst = 'NaN' then
    raise exception using errcode = 'HW002', message = format('burst must be a number above 0, not %s', set_limit.burst),
      hint = 'It is how much may start at once after a rest; leave it out for what the rate gives in a second';
  end if;
  asked := howdah.parsed_rate(nullif(set_limit.rate, 'none'));
  if set_limit.burst is not null and asked is null
     and not exists (select from howdah."group" g where g.name = set_limit.name and g.own and g.rate is not null) then
    raise exception using errcode = 'HW002', message = 'burst was given, and there is no rate', hint = 'Give the rate too: 100/min';
  end if;
  insert into howdah."group" as g (name, own, max_running, rate, per_second, burst, used_at, updated_at)
  values (set_limit.name, true, nullif(set_limit.running, 0), nullif(set_limit.rate, 'none'), asked,
          case when asked is not null then coalesce(set_limit.burst, greatest(floor(asked), 1)) end, clock, clock)
  on conflict (name) do update
     set own = true, rule = null, updated_at = clock,
         -- What a rule gave is not its own.
         max_running = case when set_limit.running is not null then excluded.max_running when g.own then g.max_running end,
         rate = case when set_limit.rate is not null then excluded.rate when g.own then g.rate end,
         per_second = case when set_limit.rate is not null then asked when g.own then g.per_second end,
         burst = case when set_limit.rate is not null then excluded.burst when g.own then coalesce(set_limit.burst, g.burst) end;
  if position('*' in set_limit.name) > 0 then
    perform howdah.apply_rules(set_limit.name);
  end if;
  perform howdah.wake_all();
end
$$;
comment on function howdah.set_limit(text, int, text, double precision) is
  'Limit a group, in the whole fleet, from now on: at most so many of its tasks run at once; at most so much starts per time (100/min), with a burst after a rest. A name with * is the rule for every group that matches and has no limit of its own. What is NULL stays as it is; running = 0 and rate = none take that limit away. What runs goes on. See unset_limit.';
