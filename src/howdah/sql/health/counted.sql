create or replace function howdah.counted(number bigint, one text, many text) returns text
language sql immutable
as $$ select number || ' ' || case number when 1 then one else many end $$;
comment on function howdah.counted(bigint, text, text) is 'A number and what there is so many of: 1 task, 2 tasks.';
