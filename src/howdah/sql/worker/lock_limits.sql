-- Whoever counts what runs in a limited queue holds its row until he has claimed: two that counted at once would both take the
-- last place. All rows in one order, whatever the order of the lanes: else two workers would wait for each other.
create or replace function howdah.lock_limits(lanes jsonb) returns text[]
language plpgsql
as $$
#variable_conflict use_column
declare
  limited text[] := array(select q.name from howdah.queue q
                           where q.max_running is not null
                             and q.name = any (array(select x.queue from jsonb_to_recordset(lock_limits.lanes) x (queue text))));
begin
  if limited <> '{}' then
    begin
      perform from howdah.queue q where q.name = any (limited) order by q.name for no key update;
    exception when lock_not_available then
      -- Somebody changes a queue in a transaction that stays open. That must not keep us from all other queues.
      limited := '{}';
    end;
  end if;
  return limited;
end
$$;
comment on function howdah.lock_limits(jsonb) is
  'Before a claim from these lanes, [{queue, …}]: which of their queues are limited and may be claimed from. Until the end of the transaction nobody else counts what runs in them. None, if somebody holds one of them for long.';
