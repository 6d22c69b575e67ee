-- Backoff.nominal of the Python client is the same. What a strategy of its own would say, only the code of its worker knows.
create or replace function howdah.backoff(kind howdah.kind, attempt int) returns interval
language plpgsql immutable
as $$
#variable_conflict use_column
declare
  strategy text             := coalesce(backoff.kind.strategy, 'standard');
  factor   double precision := coalesce(backoff.kind.retry_factor, 2);
  delay    double precision := coalesce(extract(epoch from backoff.kind.retry_delay), 1);
  -- A century is the longest wait, as everywhere.
  cap      double precision := least(coalesce(extract(epoch from backoff.kind.retry_max), 600), 36525 * 86400.0);
  base     double precision := factor;
  exponent double precision := greatest(backoff.attempt, 1) - 1;
begin
  if strategy = 'immediate' then
    if exponent = 0 then
      return interval '0';
    end if;
    exponent := exponent - 1;
  elsif strategy = 'poly' then
    base := greatest(backoff.attempt, 1);
    exponent := factor;
  elsif strategy = 'fixed' then
    exponent := 0;
  end if;
  -- The cap is asked before the power is, which may be too big for a number.
  if delay > 0 and delay < cap then
    delay := case when exponent * ln(base) < ln(cap / delay) then delay * power(base, exponent) else cap end;
  end if;
  return make_interval(secs => least(delay, cap));
end
$$;
comment on function howdah.backoff(howdah.kind, int) is
  'How long a task of this kind waits after its failed attempt number attempt (from 1), without jitter. A strategy of its own (own) counts as standard.';
